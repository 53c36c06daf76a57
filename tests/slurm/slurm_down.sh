#!/usr/bin/env bash
# slurm_down.sh DIR: ends what slurm_up.sh DIR started, and no other daemon: jobs through scancel, daemons by their pid files.
DIR=$(cd "$1" && pwd) || exit 0
export SLURM_CONF=$DIR/slurm.conf
jobs() { timeout 10 squeue --noheader --format=%A 2>/dev/null | sort -u; }
if [ -s "$DIR/run/slurmctld.pid" ] && kill -0 "$(cat "$DIR/run/slurmctld.pid")" 2>/dev/null; then
  jobs | xargs -r timeout 10 scancel
  for _ in $(seq 100); do [ -z "$(jobs)" ] && break; sleep 0.1; done
fi
stop() {
  [ -s "$1" ] || return 0
  local pid; pid=$(cat "$1"); kill "$pid" 2>/dev/null || return 0
  for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || return 0; sleep 0.1; done
  kill -9 "$pid" 2>/dev/null
}
for name in slurmd slurmctld munged; do stop "$DIR/run/$name.pid"; done
exit 0
