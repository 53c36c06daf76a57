#!/bin/sh
# Makes .venv what requirements.lock says. Safe to call again: it does only what is missing.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "tem_seg needs Python 3.11 or newer; '$python' is $("$python" --version 2>&1). Try: make PYTHON=python3.12 $*" >&2
    exit 1
}
wanted=$(cat requirements.lock pyproject.toml scripts/setup.sh | cksum)
stamp=.venv/.tem_seg-setup
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    [ -x .venv/bin/python ] || "$python" -m venv .venv
    pip=".venv/bin/python -m pip --disable-pip-version-check --no-input"
    echo "setup: installing the locked packages (about 5 GB, mostly torch with its CUDA libraries) …"
    $pip install -q --require-hashes -r requirements.lock
    $pip install -q --no-deps --no-build-isolation -e .
    sh scripts/setup_detectron2.sh
    echo "$wanted" > "$stamp"
fi
