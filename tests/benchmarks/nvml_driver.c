/* A library that answers as NVIDIA's driver does, so that what is measured includes pynvml and its calls through C.
 *
 * Every GPU draws 300 W; its counter moves every 100 ms. A call takes no time of its own: what a real driver takes
 * comes on top, for each of `calls`.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, MAX_GPUS = 64 };
enum { WATTS = 300, UPDATE_MS = 100, POWER_INSTANT = 186, SCOPE_GPU = 0 };

typedef int gpu; /* a handle points to one of these; its value is the GPU's number */
typedef struct { unsigned gpu, memory; } utilization;
typedef struct { unsigned long long total, free, used; } memory;
typedef struct { /* nvmlFieldValue_t */
    unsigned field, scope;
    long long timestamp, latency_us;
    int type, ret;
    union { unsigned ui; unsigned long long ull; double d; } value;
} field_value;

typedef struct { unsigned pid; unsigned long long memory; unsigned gpu_instance, instance; } process;

static gpu gpus[MAX_GPUS];
static unsigned count = 1;
unsigned long long calls;

void set_gpus(unsigned number) {
    count = number < MAX_GPUS ? number : MAX_GPUS;
    for (unsigned i = 0; i < count; i++) gpus[i] = (int)i;
}

static int answered(void) {
    __atomic_fetch_add(&calls, 1, __ATOMIC_RELAXED);
    return SUCCESS;
}

static unsigned long long now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (unsigned long long)t.tv_sec * 1000 + (unsigned long long)t.tv_nsec / 1000000;
}

int nvmlInitWithFlags(unsigned flags) { (void)flags; return SUCCESS; }
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int code) { (void)code; return "an error of the stand-in"; }

int nvmlDeviceGetCount_v2(unsigned *number) { *number = count; return answered(); }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, gpu **handle) {
    if (index >= count) return INVALID_ARGUMENT;
    *handle = &gpus[index];
    return answered();
}

int nvmlDeviceGetHandleByUUID(const char *uuid, gpu **handle) {
    unsigned index;
    if (sscanf(uuid, "GPU-%8u-", &index) != 1 || index >= count) return NOT_FOUND;
    *handle = &gpus[index];
    return answered();
}

int nvmlDeviceGetName(gpu *handle, char *name, unsigned length) {
    (void)handle;
    snprintf(name, length, "Stand-in GPU");
    return answered();
}

int nvmlDeviceGetUUID(gpu *handle, char *uuid, unsigned length) {
    snprintf(uuid, length, "GPU-%08d-2222-3333-4444-555555555555", *handle);
    return answered();
}

int nvmlDeviceGetMigMode(gpu *handle, unsigned *now, unsigned *pending) {
    (void)handle, (void)now, (void)pending;
    return NOT_SUPPORTED;
}

int nvmlDeviceGetTotalEnergyConsumption(gpu *handle, unsigned long long *energy_mj) {
    (void)handle;
    *energy_mj = now_ms() / UPDATE_MS * UPDATE_MS * WATTS;
    return answered();
}

int nvmlDeviceGetFieldValues(gpu *handle, int number, field_value *values) {
    (void)handle;
    for (int i = 0; i < number; i++) {
        int known = values[i].field == POWER_INSTANT && values[i].scope == SCOPE_GPU;
        values[i].ret = known ? SUCCESS : NOT_SUPPORTED;
        values[i].value.ui = known ? WATTS * 1000 : 0;
    }
    return answered();
}

int nvmlDeviceGetTemperature(gpu *handle, int sensor, unsigned *celsius) {
    (void)handle, (void)sensor;
    *celsius = 55;
    return answered();
}

int nvmlDeviceGetClockInfo(gpu *handle, int kind, unsigned *mhz) {
    (void)handle;
    *mhz = kind == 1 ? 1980 : 2619;
    return answered();
}

int nvmlDeviceGetUtilizationRates(gpu *handle, utilization *rates) {
    (void)handle;
    *rates = (utilization){75, 20};
    return answered();
}

int nvmlDeviceGetMemoryInfo(gpu *handle, memory *of) {
    (void)handle;
    *of = (memory){80ull << 30, 77ull << 30, 3ull << 30};
    return answered();
}

int nvmlDeviceGetEnforcedPowerLimit(gpu *handle, unsigned *mw) {
    (void)handle;
    *mw = 700000;
    return answered();
}

int nvmlDeviceGetPowerManagementLimitConstraints(gpu *handle, unsigned *least_mw, unsigned *most_mw) {
    (void)handle;
    *least_mw = 200000, *most_mw = 700000;
    return answered();
}

int nvmlDeviceGetSupportedClocksEventReasons(gpu *handle, unsigned long long *reasons) {
    (void)handle;
    *reasons = 0x6d;
    return answered();
}

int nvmlDeviceGetCurrentClocksEventReasons(gpu *handle, unsigned long long *reasons) {
    (void)handle;
    *reasons = 0;
    return answered();
}

/* The process that asks works on every GPU, as a run's does. */
int nvmlDeviceGetComputeRunningProcesses_v3(gpu *handle, unsigned *number, process *processes) {
    (void)handle;
    int fits = processes && *number >= 1;
    if (fits) processes[0] = (process){(unsigned)getpid(), 3ull << 30, -1u, -1u};
    *number = 1;
    return answered(), fits ? SUCCESS : INSUFFICIENT_SIZE;
}
