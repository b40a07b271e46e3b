#!/usr/bin/env bash
# The whole thing in minutes: draws a small action data set, trains a small
# COSAM + BERT model on it, tests it and says where everything lies.
#   bash tools/demo.sh
# Run again, it goes on where it was; DEMO_DIR names another folder for data and
# results (default: work_dirs/demo).
set -euo pipefail
cd "$(dirname "$0")/.."
dir=${DEMO_DIR:-work_dirs/demo}
config=configs/resnext14_cosam_bert_demo.py
bash tools/setup_env.sh action
py=.venv/bin/python
start=$SECONDS

echo "== 1/4 drawing clips =="
"$py" tools/prepare_data.py demo --out "$dir/data"

echo "== 2/4 training (log: $dir/train.log) =="
"$py" tools/train.py "$config" --data-root "$dir/data" --work-dir "$dir/run" \
    --seed 0 --resume 2>&1 | tee "$dir/train.log" |
    grep --line-buffered -E 'Epoch\((train|val)\)|[Ee]rror' | cut -c 1-150

echo "== 3/4 testing =="
checkpoint=$(ls -t "$dir"/run/best_acc_top1_*.pth | head -n 1)
"$py" tools/test.py "$config" "$checkpoint" --data-root "$dir/data" \
    --work-dir "$dir/test" --dump "$dir/scores.npz" > "$dir/test.log" 2>&1 ||
    { tail -n 20 "$dir/test.log" >&2; exit 1; }

echo "== 4/4 naming one clip =="
clip=$(find "$dir/data/videos/rotate_clockwise/" -name '*.avi' | sort | tail -n 1)
"$py" tools/demo.py "$checkpoint" "$clip" --topk 3

echo
grep -o 'acc/top1: .*acc/cross_entropy: [0-9.]*' "$dir/test.log" | tail -n 1
echo "clips        $dir/data/videos"
echo "checkpoint   $checkpoint"
echo "scores       $dir/scores.npz"
echo "logs         $dir/train.log, $dir/test.log"
echo "time         $((SECONDS - start)) s, set-up aside"
