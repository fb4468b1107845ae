"""Published power of servers a hardware thread, by family of their CPU; and the family of this machine's CPU. Pure.

A guest's share of a socket is not known inside a virtual machine, and often the model of the CPU is not either; its
family nearly always is, since a hypervisor passes on the numbers of the instruction CPUID. SPECpower_ssj2008
publishes the power of whole servers, idle and at full load. Divided by their hardware threads, and given as the
span of most servers of a family, it says what a guest's share of such a machine may draw. It is of a Java workload;
matrix arithmetic in wide vectors may draw more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

SOURCE = (
    "SPECpower_ssj2008 results until 2026-03, https://www.spec.org/power_ssj2008/results/, as collected by Cloud "
    "Carbon Footprint, https://github.com/cloud-carbon-footprint/ccf-coefficients"
)
#: What a GB of memory draws, and its source: the mean of two makers' figures.
MEMORY_W_PER_GB = 0.392
MEMORY_SOURCE = "Cloud Carbon Footprint, https://www.cloudcarbonfootprint.org/docs/methodology/#memory"
#: Memory that those servers have a hardware thread, in GB; most have 0.6 to 2.
SERVER_GB_PER_THREAD = 1.0


@dataclass(frozen=True)
class CpuFamily:
    """Whole servers with CPUs of one family: W a hardware thread, as the 10th and the 90th percentile of them.

    The power of a whole server holds CPU, memory, board, fans, a disk and what the power supply loses; no GPU.
    """

    title: str
    idle_w: tuple[float, float]
    full_w: tuple[float, float]
    servers: int


#: `tests/spec/specpower.csv` has the results that these are taken from, and a test takes them again.
FAMILIES = {
    "haswell": CpuFamily("Xeon E5 v3 (Haswell)", (0.56, 0.76), (3.68, 4.23), 16),
    "broadwell": CpuFamily("Xeon E5 v4 (Broadwell)", (0.47, 1.19), (2.77, 5.43), 17),
    "skylake": CpuFamily("Xeon Scalable (Skylake)", (0.40, 0.70), (3.20, 4.31), 58),
    "cascade_lake": CpuFamily("Xeon Scalable 2 (Cascade Lake)", (0.43, 1.48), (3.16, 4.90), 52),
    "ice_lake": CpuFamily("Xeon Scalable 3 (Ice Lake)", (0.69, 1.56), (3.52, 4.97), 30),
    "sapphire_rapids": CpuFamily("Xeon Scalable 4 (Sapphire Rapids)", (0.65, 1.67), (3.10, 4.90), 67),
    "emerald_rapids": CpuFamily("Xeon Scalable 5 (Emerald Rapids)", (0.60, 1.01), (2.54, 4.66), 34),
    "granite_rapids": CpuFamily("Xeon 6 with P-cores (Granite Rapids)", (0.48, 0.72), (2.28, 3.04), 30),
    "sierra_forest": CpuFamily("Xeon 6 with E-cores (Sierra Forest)", (0.57, 0.82), (2.24, 3.03), 20),
    "epyc_naples": CpuFamily("EPYC 7001 (Naples)", (0.63, 1.03), (2.23, 2.98), 10),
    "epyc_rome": CpuFamily("EPYC 7002 (Rome)", (0.32, 0.67), (1.53, 1.92), 36),
    "epyc_milan": CpuFamily("EPYC 7003 (Milan)", (0.33, 0.62), (1.77, 2.22), 28),
    "epyc_genoa": CpuFamily("EPYC 9004 (Genoa)", (0.31, 0.38), (1.71, 2.13), 20),
    "epyc_bergamo": CpuFamily("EPYC 97x4 and 8004 (Bergamo, Siena)", (0.22, 1.39), (1.26, 3.12), 52),
    "epyc_turin": CpuFamily("EPYC 9005 (Turin)", (0.28, 0.38), (1.80, 2.00), 8),
    "epyc_turin_dense": CpuFamily("EPYC 9005 with Zen 5c (Turin Dense)", (0.18, 0.23), (1.09, 1.32), 33),
    "neoverse_n1": CpuFamily("Neoverse N1 (Ampere Altra, Graviton 2)", (0.56, 1.04), (1.14, 2.01), 7),
    "coffee_lake": CpuFamily("Xeon E-2100, E-2200 and Core 8, 9 (Coffee Lake)", (0.95, 1.45), (3.46, 7.37), 9),
    "rocket_lake": CpuFamily("Xeon E-2300 and Core 11 (Rocket Lake)", (1.02, 1.35), (4.46, 5.17), 15),
    "raptor_lake": CpuFamily("Xeon E-2400, 6300 and Core 13, 14 (Raptor Lake)", (1.11, 1.72), (5.33, 6.40), 10),
}

#: Of Intel's family 6, by model; 85 is several families, told apart by their stepping.
_INTEL = {
    63: "haswell", 79: "broadwell", 106: "ice_lake", 108: "ice_lake", 143: "sapphire_rapids", 207: "emerald_rapids",
    173: "granite_rapids", 174: "granite_rapids", 175: "sierra_forest", 158: "coffee_lake", 167: "rocket_lake",
    183: "raptor_lake",
}  # fmt: skip
#: Of AMD's EPYC, by family and the model without its last hexadecimal digit.
_EPYC = {
    (23, 0): "epyc_naples", (23, 3): "epyc_rome", (25, 0): "epyc_milan", (25, 1): "epyc_genoa",
    (25, 10): "epyc_bergamo", (26, 0): "epyc_turin", (26, 1): "epyc_turin_dense",
}  # fmt: skip
#: Of Arm, by implementer and part.
_ARM = {("0x41", "0xd0c"): "neoverse_n1"}


def family_of(cpuinfo: str) -> str | None:
    """Key in `FAMILIES` of the CPU that a text of `/proc/cpuinfo` describes; None where none is published."""
    fields = dict(re.findall(r"^([^\t:]+?)[ \t]*:[ \t]*(.*)$", cpuinfo.split("\n\n")[0], flags=re.M))
    if arm := _ARM.get((fields.get("CPU implementer", ""), fields.get("CPU part", ""))):
        return arm
    try:
        family, model, stepping = (int(fields[name]) for name in ("cpu family", "model", "stepping"))
    except (KeyError, ValueError):
        return None
    vendor = fields.get("vendor_id")
    if vendor == "AuthenticAMD" and "EPYC" in fields.get("model name", ""):
        return _EPYC.get((family, model // 16))
    if vendor != "GenuineIntel" or family != 6:
        return None
    if model == 85:  # 10 and 11 are Cooper Lake
        return "skylake" if stepping <= 4 else "cascade_lake" if stepping <= 7 else None
    if model == 158 and stepping < 10:  # Kaby Lake
        return None
    return _INTEL.get(model)
