#!/bin/sh
# Tries to install Detectron2 at the commit that pyproject.toml pins (group `detectron2`); does without it where that fails.
# It is not on the package index. At most 60 s are spent on finding out whether its repository can be reached.
set -u
cd "$(dirname "$0")/.."
python=.venv/bin/python
requirement=$($python -c 'import tomllib; print(tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]["detectron2"][0])')
command="$python -m pip install --no-build-isolation --no-deps '$requirement'"
if $python -c 'import detectron2' 2>/dev/null; then exit 0; fi
repository=$(echo "$requirement" | sed -E 's/.*git\+(.*)@[0-9a-f]+$/\1/')
export GIT_TERMINAL_PROMPT=0 GIT_ASKPASS=true MAX_JOBS="${MAX_JOBS:-2}"
log=.venv/detectron2-install.log
if timeout 60 git ls-remote "$repository" HEAD >"$log" 2>&1 </dev/null; then
    echo "setup: building Detectron2 (a minute or two) …"
    if timeout 900 $python -m pip --disable-pip-version-check --no-input install -q --no-build-isolation --no-deps "$requirement" >>"$log" 2>&1; then
        echo "setup: Detectron2 is installed"
        exit 0
    fi
fi
echo "setup: Detectron2 cannot be had here (see $log); the torchvision back end is used. Add it later with: $command"
