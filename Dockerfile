# joulebench on an NVIDIA GPU; docs/gpu.md says how to build and run it.
#
# The base has little more than the CUDA runtime: torch's wheels bring the other libraries. It refuses to start on a
# driver that is older than its CUDA; for such a driver build with, say,
# --build-arg CUDA=12.8.1 --build-arg TORCH_BACKEND=cu128
ARG CUDA=13.0.0
FROM nvidia/cuda:${CUDA}-base-ubuntu24.04

# a compiler and Python's headers are for torch.compile
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev python3 python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*

COPY containers/install.sh /src/containers/install.sh
COPY pyproject.toml README.md LICENSE /src/
COPY hardware_profiles /src/hardware_profiles
COPY tasks /src/tasks
COPY suite /src/suite

ARG TORCH_BACKEND=pypi
RUN UV_NO_CACHE=1 PIP_NO_CACHE_DIR=1 /src/containers/install.sh /opt/joulebench "$TORCH_BACKEND"

RUN useradd --create-home --uid 10001 joulebench \
    && install --directory --owner joulebench /data

# `utility` lets NVML in, without which no joule of the GPU is measured; HOME is for caches of any user (--user)
ENV PATH=/opt/joulebench/bin:$PATH \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    HOME=/tmp

USER joulebench
WORKDIR /data
ENTRYPOINT ["joulebench"]
CMD ["hardware"]
