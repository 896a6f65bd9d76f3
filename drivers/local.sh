#!/bin/sh
# i-PI and its clients on this machine, by hand; `flexcalc ipi` does this and more.
#
#   local.sh INPUT.xml MODEL START.xyz NAME [CLIENTS]
#
# INPUT.xml has <ffsocket mode='unix'> with <address> NAME </address>.
set -eu

input=$1 model=$2 start=$3 name=$4 clients=${5:-1}
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"

i-pi "$input" &
server=$!
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT INT TERM

i=0
while [ "$i" -lt "$clients" ]; do
    flexcalc serve "$model" "$start" --unix "$name" &
    i=$((i + 1))
done
wait "$server"
wait
