#!/usr/bin/env bash
# Generate data, train, test and report, in minutes and without downloads:
#   bash tools/demo.sh          action recognition: synthetic clips, a small COSAM + BERT
#                               model, its test, the label of one clip, report.html
#   bash tools/demo.sh reid     person re-identification: synthetic walking persons, a
#                               small COSAM model, its test with and without
#                               re-ranking, report.html
# A second run resumes the first. DEMO_DIR sets the folder of data and results
# (default: work_dirs/demo and work_dirs/demo_reid).
set -euo pipefail
cd "$(dirname "$0")/.."
kind=${1:-action}
case $kind in
action)
    config=configs/resnext14_cosam_bert_demo.py
    dir=${DEMO_DIR:-work_dirs/demo}
    data=demo
    best='best_acc_top1_*.pth'
    metrics='acc/top1: .*acc/cross_entropy: [0-9.]*'
    ;;
reid)
    config=configs/reid/resnet14_cosam45_tp_demo.py
    dir=${DEMO_DIR:-work_dirs/demo_reid}
    data=reid-demo
    best='best_reid_mAP_*.pth'
    metrics='reid/[a-zA-Z_]*\(mAP\|R1\): [0-9.]*'
    ;;
*)
    echo "usage: bash tools/demo.sh [action|reid]" >&2
    exit 2
    ;;
esac
case $dir in
-*) dir=./$dir ;; # a name, not an option
esac
bash tools/setup_env.sh action
py=.venv/bin/python
start=$SECONDS

# The last file of a pattern in a folder, in numeric order. The folder's own name may hold
# any character, even line breaks, and stays out of the list.
last_file() {
    # shellcheck disable=SC2086
    (cd "$1" && printf '%s\n' $2 | sort -V | tail -n 1)
}

# Runs a step with its output in a log. Shows the progress, or the end of the log if the
# step fails.
logged() {
    local log=$1
    shift
    if ! "$@" 2>&1 | tee "$log" |
            { grep --line-buffered -oE 'Epoch\((train|val)\).*' || true; } |
            cut -c 1-110; then
        tail -n 20 "$log" >&2
        exit 1
    fi
}

echo "== generating data =="
"$py" tools/prepare_data.py "$data" --out "$dir/data"

echo "== training (log: $dir/train.log) =="
logged "$dir/train.log" "$py" tools/train.py "$config" --data-root "$dir/data" \
    --work-dir "$dir/run" --seed 0 --resume

echo "== testing (log: $dir/test.log) =="
checkpoint=$dir/run/$(last_file "$dir/run" "$best")
if [ "$kind" = action ]; then
    results=$dir/scores.npz
    options=(--dump "$results")
else
    results=$dir/features.npz
    options=(--rerank --dump "$results")
fi
if ! "$py" tools/test.py "$config" "$checkpoint" --data-root "$dir/data" \
        --work-dir "$dir/test" "${options[@]}" > "$dir/test.log" 2>&1; then
    tail -n 20 "$dir/test.log" >&2
    exit 1
fi
if [ "$kind" = action ]; then
    clips=$dir/data/videos/rotate_clockwise
    clip=$clips/$(last_file "$clips" '*.avi')
    "$py" tools/demo.py "$checkpoint" "$clip" --topk 3
fi

echo "== report =="
if ! "$py" tools/report.py "$dir" --data-root "$dir/data" --checkpoint "$checkpoint" \
        > "$dir/report.log"; then
    tail -n 20 "$dir/report.log" >&2
    exit 1
fi

echo
grep 'Epoch(test)' "$dir/test.log" | tail -n 1 | grep -o "$metrics"
echo "data         $dir/data"
echo "checkpoint   $checkpoint"
echo "results      $results"
echo "logs         $dir/train.log, $dir/test.log"
grep '^report ' "$dir/report.log"
echo "time         $((SECONDS - start)) s, without set-up"
