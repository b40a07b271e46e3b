#!/usr/bin/env bash
# Train on a slurm cluster:
#   bash tools/slurm_train.sh PARTITION JOB_NAME CONFIG NUM_GPUS [arguments of tools/train.py]
# GPUS_PER_NODE (default: NUM_GPUS, at most 8) and CPUS_PER_TASK (default: 5) say how the
# processes lie; SRUN_ARGS holds further arguments of srun. PYTHON names the interpreter.
set -euo pipefail
if [ $# -lt 4 ]; then
    echo "usage: bash tools/slurm_train.sh PARTITION JOB_NAME CONFIG NUM_GPUS [arguments of tools/train.py]" >&2
    exit 2
fi
partition=$1
job_name=$2
config=$3
gpus=$4
shift 4
# bash would run what stands in brackets within a sum.
case $gpus in
'' | *[!0-9]*)
    echo "error: NUM_GPUS must be a whole number, got '$gpus'" >&2
    exit 2
    ;;
esac
per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
# SRUN_ARGS is to be split into words.
# shellcheck disable=SC2086
exec srun --partition="$partition" --job-name="$job_name" \
    --ntasks="$gpus" --ntasks-per-node="$per_node" --gres=gpu:"$per_node" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    "${PYTHON:-python}" -u "$(dirname "$0")/train.py" "$config" --launcher slurm "$@"
