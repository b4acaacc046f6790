#!/usr/bin/env bash
# Runs a study as a job array on a Slurm node of its own on this machine, with one task killed and requeued, and shows
# that the merged results are those of a single process, byte for byte: check.sh PATH-OF-NPUSIM
#
# Needs root and Debian's packages slurm-wlm and munge (apt-get install slurm-wlm munge). Everything listens on the
# loopback address and lives in a temporary folder; what was started is ended at the end.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
NPUSIM="$(realpath "${1:?the path of npusim}")"
export NPUSIM
for tool in slurmctld slurmd sbatch munged; do
    command -v "$tool" > /dev/null || { echo "$tool is missing: apt-get install slurm-wlm munge" >&2; exit 2; }
done

work="$(mktemp -d)"
started=()
finish() {
    for pid in "${started[@]}"; do kill "$pid" 2> /dev/null || true; done
    for pid in "${started[@]}"; do while kill -0 "$pid" 2> /dev/null; do sleep 0.1; done; done
    rm -rf "$work"
}
trap finish EXIT

free_port() { python3 - << 'PYTHON' 2> /dev/null || echo "$1"
import socket
s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])
PYTHON
}
mkdir -m 755 "$work/state" "$work/spool" "$work/run"
chmod 755 "$work"
dd if=/dev/urandom of="$work/munge.key" bs=128 count=1 status=none
chmod 400 "$work/munge.key"
node="$(hostname -s)"
# Requeued jobs wait until the credential of their first start has expired: seconds here, two minutes by default.
cat > "$work/slurm.conf" << CONF
ClusterName=loopback
SlurmctldHost=$node(127.0.0.1)
SlurmctldPort=$(free_port 36817)
SlurmdPort=$(free_port 36818)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$work/run/munge.socket,cred_expire=5
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/run/slurmctld.pid
SlurmdPidFile=$work/run/slurmd.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SchedulerParameters=sched_interval=2,bf_interval=2
KillWait=2
NodeName=$node NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=all Nodes=$node Default=YES MaxTime=INFINITE State=UP
CONF
export SLURM_CONF="$work/slurm.conf"
munged --foreground --force --socket="$work/run/munge.socket" --key-file="$work/munge.key" \
    --pid-file="$work/run/munged.pid" --log-file="$work/munged.log" --seed-file="$work/munge.seed" > /dev/null 2>&1 &
started+=($!)
while [ ! -S "$work/run/munge.socket" ]; do sleep 0.1; done
slurmctld -D -f "$SLURM_CONF" > /dev/null 2>&1 & started+=($!)
slurmd -D -f "$SLURM_CONF" > /dev/null 2>&1 & started+=($!)
for _ in $(seq 300); do
    sinfo -h -o %T 2> /dev/null | grep -q idle && break
    sleep 0.2
done
sinfo -h -o %T | grep -q idle || { echo "the node did not come up" >&2; tail -5 "$work"/*.log >&2; exit 1; }

parts=4
job="$("$here/submit.sh" "$here/study.yaml" "$work/out" "$parts")"
victim="$work/out/journal.2-of-$parts.jsonl"
lines() { if [ -f "$victim" ]; then wc -l < "$victim"; else echo 0; fi; }
for _ in $(seq 6000); do
    [ "$(lines)" -ge 3 ] && break
    sleep 0.01
done
[ "$(lines)" -ge 3 ] || { squeue >&2; echo "the tasks did not start" >&2; exit 1; }
scontrol requeue "${job}_2" || echo "task 2 was done before it could be killed"
lines="$(lines)"
echo "task 2 was killed with $((lines - 1)) of 24 points in its journal, and requeued"
for _ in $(seq 1200); do
    [ -f "$work/out/study.json" ] && break
    sleep 0.2
done
[ -f "$work/out/study.json" ] || { squeue >&2; tail -5 "$work"/out/*.log >&2; echo "the merge did not run" >&2; exit 1; }
grep -h "taken over" "$work/out/part-2.log" || true

"$NPUSIM" explore "$here/study.yaml" --out "$work/single" > /dev/null
for file in journal.jsonl results.csv study.json; do
    cmp "$work/out/$file" "$work/single/$file"
done
echo "slurm: 4 tasks, one killed and requeued: the merged files are those of one process, byte for byte"
