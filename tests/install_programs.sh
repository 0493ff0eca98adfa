#!/usr/bin/env bash
# Install the programs beside Python that some tests drive: a batch system, a browser,
# another program of the field. For Debian and its kin, as root.
#
#     tests/install_programs.sh
#
# What is there already is left as it is, and then nothing is fetched at all. A test
# whose program is missing skips and says so; a package that this Debian does not know,
# or that cannot be fetched, is therefore reported and no error.
set -euo pipefail

packages=(
  munge slurmctld slurmd slurm-client # tests/slurm.py
  chromium chromium-driver            # the reports in a browser
  relion                              # reads the tables that we write
  relion-gui xvfb xauth               # shows the classes, on a screen that is none
)

if [ "$(id -u)" != 0 ] || ! command -v apt-get dpkg-query > /dev/null; then
  echo "$0: needs root and apt-get; nothing installed" >&2
  exit 0
fi

installed() {
  [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2> /dev/null)" = installed ]
}

missing=()
for package in "${packages[@]}"; do
  installed "$package" || missing+=("$package")
done
[ ${#missing[@]} = 0 ] && exit 0

export DEBIAN_FRONTEND=noninteractive
wait=(-o DPkg::Lock::Timeout=300) # another apt-get may be at work
apt-get "${wait[@]}" --quiet=2 update || echo "$0: the lists are as old as they were" >&2

known=()
for package in "${missing[@]}"; do
  if [ -n "$(apt-cache --names-only search "^$package\$")" ]; then
    known+=("$package")
  else
    echo "$0: there is no package $package" >&2
  fi
done
[ ${#known[@]} = 0 ] && exit 0

# Slurm's packages would start services that find no configuration; the tests start
# their own. Without systemd there is nothing to start.
install=(apt-get "${wait[@]}" --quiet=2 --yes --no-install-recommends install)
if ! "${install[@]}" "${known[@]}"; then
  # One that cannot be had shall not keep the others away.
  for package in "${known[@]}"; do
    "${install[@]}" "$package" || echo "$0: $package was not installed" >&2
  done
fi
