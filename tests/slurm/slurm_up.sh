#!/usr/bin/env bash
# A SLURM of one node for tests: as root, without systemd, cgroups or accounting, on the loopback alone, all below one folder.
#   slurm_up.sh DIR        then: . DIR/env.sh        needs (Debian): slurm-wlm munge
set -euo pipefail
DIR=$(mkdir -p "$1" && cd "$1" && pwd)
CTLD_PORT=${SLURM_CTLD_PORT:-16817} SLURMD_PORT=${SLURM_D_PORT:-16818}
mkdir -p "$DIR"/{state,spool,log,run,bin}
chmod 755 "$DIR" "$DIR/run" "$DIR/spool"            # munged refuses a socket folder that others cannot enter
export SLURM_CONF=$DIR/slurm.conf

wait_for() { for _ in $(seq 200); do "$@" >/dev/null 2>&1 && return 0; sleep 0.1; done; echo "timed out: $*" >&2; return 1; }
port_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1"); }

( umask 077; head -c 128 /dev/urandom > "$DIR/munge.key" )
munged --key-file="$DIR/munge.key" --socket="$DIR/run/munge.socket" --pid-file="$DIR/run/munged.pid" \
       --log-file="$DIR/log/munged.log" --seed-file="$DIR/run/munged.seed"

# submitit asks sacct for the states of jobs; without a database squeue answers for MinJobAge seconds
cat > "$DIR/bin/sacct" <<'SH'
#!/bin/bash
ids=()
while [ $# -gt 0 ]; do
  case "$1" in -j|--jobs) ids+=("$2"); shift 2 ;; *) shift ;; esac
done
echo "JobID|State|NodeList"
for id in "${ids[@]}"; do
  squeue --noheader --array --states=all --jobs="$id" --format='%i|%T|%N' 2>/dev/null
done
exit 0
SH
# submitit runs `scontrol requeue` inside the very job: that job's SIGTERM can reach scontrol before it has exited, and
# submitit then takes a done requeue for a crash
cat > "$DIR/bin/scontrol" <<SH
#!/bin/bash
trap '' TERM
exec $(command -v scontrol) "\$@"
SH
chmod +x "$DIR"/bin/*

cat > "$DIR/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
# a requeued job waits cred_expire seconds before it starts again; the default is 120
AuthInfo=socket=$DIR/run/munge.socket,cred_expire=5
SlurmctldPort=$CTLD_PORT
SlurmdPort=$SLURMD_PORT
StateSaveLocation=$DIR/state
SlurmdSpoolDir=$DIR/spool
SlurmctldPidFile=$DIR/run/slurmctld.pid
SlurmdPidFile=$DIR/run/slurmd.pid
SlurmctldLogFile=$DIR/log/slurmctld.log
SlurmdLogFile=$DIR/log/slurmd.log
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2
MpiDefault=none
ReturnToService=2
MinJobAge=3600
KillWait=5
JobRequeue=1
# partition "high" preempts "cpu": its jobs get their --signal (submitit: USR2), GraceTime seconds, then a requeue
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
NodeName=localhost NodeAddr=127.0.0.1 CPUs=2 RealMemory=4000 State=UNKNOWN
PartitionName=cpu  Nodes=localhost Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=20
PartitionName=high Nodes=localhost MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
CONF
cat > "$DIR/env.sh" <<CONF
export SLURM_CONF=$DIR/slurm.conf
export PATH=$DIR/bin:\$PATH
CONF

slurmctld -c
wait_for port_open "$CTLD_PORT"
slurmd -N localhost
wait_for bash -c 'sinfo --noheader --format=%T | grep -qE "idle|mix|alloc"'
sinfo
