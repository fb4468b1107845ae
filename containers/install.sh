#!/usr/bin/env bash
# Install joulebench from this tree into a new virtual environment: containers/install.sh FOLDER [TORCH_BACKEND]
#
# TORCH_BACKEND says whose wheels of torch to take: pypi (the default), cu126, cu128, … of PyTorch's own index for a
# driver that PyPI's are too new for, or cpu for a small installation without CUDA. `auto` asks the driver, which is
# absent while an image is built.
set -euo pipefail

folder=$1
backend=${2:-pypi}
tree=$(cd "$(dirname "$0")/.." && pwd)
options=(--python "$folder" --compile-bytecode)
if [[ $backend != pypi ]]; then
    options+=(--torch-backend "$backend")
fi

python3 -m venv "$folder"
"$folder/bin/python" -m pip install --quiet uv
"$folder/bin/python" -m uv --no-config pip install "${options[@]}" "$tree[all]"
