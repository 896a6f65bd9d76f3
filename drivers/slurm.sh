#!/bin/bash
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --cpus-per-task=1
#SBATCH --time=24:00:00
#
# i-PI on the first node and one client a task on all of them, over the cluster's network.
#
#   sbatch slurm.sh INPUT.xml MODEL START.xyz PORT
#
# INPUT.xml has <ffsocket mode='inet'> with <address> HOST </address> <port> PORT </port>; HOST is
# replaced by the first node's name. The protocol is neither encrypted nor authenticated: use it
# on a network you trust.
set -euo pipefail

input=$1 model=$2 start=$3 port=$4
export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"

sed "s/HOST/$(hostname)/" "$input" > "input-$SLURM_JOB_ID.xml"
i-pi "input-$SLURM_JOB_ID.xml" > "i-pi-$SLURM_JOB_ID.log" &
server=$!
trap 'kill "$server" 2>/dev/null || true' EXIT

srun flexcalc serve "$model" "$start" --host "$(hostname)" --port "$port" --allow-remote
wait "$server"
