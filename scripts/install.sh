#!/bin/sh
# Installs palate and its development tools: sh scripts/install.sh PYTHON
#
# torch comes first and alone. A torch that is there is left as it is. On Linux the default wheel
# carries gigabytes of CUDA, so a machine without an NVIDIA GPU takes a CPU build where pip finds
# one: in its configured sources, or in PyTorch's own index if that can be reached.
set -eu
python=$1
torch='torch==2.13.0'
cpu=https://download.pytorch.org/whl/cpu

has_torch() { "$python" -c 'import importlib.util as u, sys; sys.exit(not u.find_spec("torch"))'; }
needs_cpu_build() { [ "$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null 2>&1; }
pip() { "$python" -m pip --quiet --disable-pip-version-check "$@"; }

if ! has_torch; then
    { needs_cpu_build && pip install "$torch+cpu" 2>/dev/null; } ||
        { needs_cpu_build && pip --retries 0 --timeout 10 install "$torch+cpu" --extra-index-url "$cpu" 2>/dev/null; } ||
        pip install "$torch"
fi
pip install --editable ".[dev]"

# The pages are tested in Chromium. Where it cannot be had, those tests skip and say so.
has_chromium() { command -v chromium || command -v chromium-browser || command -v google-chrome; }
can_install() { [ "$(id -u)" = 0 ] && command -v apt-get; }
if ! has_chromium >/dev/null 2>&1 && can_install >/dev/null 2>&1; then
    {
        apt-get -qq update
        DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends chromium
    } >/dev/null 2>&1 || echo "no chromium: the tests that open pages will skip" >&2
fi
