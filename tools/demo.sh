#!/usr/bin/env bash
# The whole thing in minutes, nothing to download:
#   bash tools/demo.sh          action recognition: draws clips, trains a small
#                               COSAM + BERT model, tests it, names a clip, and puts
#                               what there is to see into report.html
#   bash tools/demo.sh reid     person re-identification: draws walking persons,
#                               trains a small COSAM model, rates it with and
#                               without re-ranking, and writes a report, too
# Run again, it goes on where it was. DEMO_DIR names another folder for data and
# results (default: work_dirs/demo and work_dirs/demo_reid).
set -euo pipefail
cd "$(dirname "$0")/.."
kind=${1:-action}
case $kind in
action)
    config=configs/resnext14_cosam_bert_demo.py
    dir=${DEMO_DIR:-work_dirs/demo}
    draw=demo
    best='best_acc_top1_*.pth'
    figures='acc/top1: .*acc/cross_entropy: [0-9.]*'
    ;;
reid)
    config=configs/reid/resnet14_cosam45_tp_demo.py
    dir=${DEMO_DIR:-work_dirs/demo_reid}
    draw=reid-demo
    best='best_reid_mAP_*.pth'
    figures='reid/[a-zA-Z_]*\(mAP\|R1\): [0-9.]*'
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

# The last file of a pattern in a folder, in the order of numbers. The folder's own name
# may hold anything, line breaks too, and stays out of the list.
last_file() {
    # shellcheck disable=SC2086
    (cd "$1" && printf '%s\n' $2 | sort -V | tail -n 1)
}

# Runs a step with its output in a log; of that, shows what matters, and all of
# the end if the step fails.
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

echo "== drawing =="
"$py" tools/prepare_data.py "$draw" --out "$dir/data"

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
grep 'Epoch(test)' "$dir/test.log" | tail -n 1 | grep -o "$figures"
echo "data         $dir/data"
echo "checkpoint   $checkpoint"
echo "results      $results"
echo "logs         $dir/train.log, $dir/test.log"
grep '^report ' "$dir/report.log"
echo "time         $((SECONDS - start)) s, set-up aside"
