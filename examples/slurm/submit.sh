#!/usr/bin/env bash
# Submits a study as a job array and the merge behind it: submit.sh STUDY.yaml OUT PARTS
#
# NPUSIM is the program; without it, the one on the PATH. All nodes have to see the folder OUT at the same place.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
STUDY="$(realpath "${1:?STUDY.yaml OUT PARTS}")"
mkdir -p "${2:?STUDY.yaml OUT PARTS}"
OUT="$(realpath "$2")"
NPUSIM="${NPUSIM:-$(command -v npusim)}"
export STUDY OUT NPUSIM
parts="$(sbatch --parsable --array="1-${3:?STUDY.yaml OUT PARTS}" --output="$OUT/part-%a.log" "$here/part.sbatch")"
sbatch --parsable --dependency="afterok:$parts" --output="$OUT/merge.log" "$here/merge.sbatch" > /dev/null
echo "$parts"
