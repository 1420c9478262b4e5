#!/usr/bin/env bash
# Runs fuzz targets, each for so many minutes of processor time, two at a time, and says what came of it in a line of a
# table: fuzz/campaign.sh [MINUTES [TARGET...]]. In the background it takes only what nobody else wants of the processors.
set -euo pipefail
cd "$(dirname "$0")"

minutes=${1:-30}
shift || true
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then mapfile -t targets < <(cargo fuzz list); fi
# Where the programs are; by default they are built here.
programs=${FUZZ_PROGRAMS:-target/$(rustc -vV | sed -n 's/^host: //p')/release}
# Seconds after which an input is a finding, on the clock: whoever stops the programs for a while has it longer.
patience=${FUZZ_PATIENCE:-120}
ticks_per_second=$(getconf CLK_TCK)

# The target's own, or that of messages.
dictionary() { if [ -f "$1.dict" ]; then echo "$1.dict"; else echo zeo.dict; fi; }

# Processor time of a process, in ticks; nothing if it has ended.
ticks() { awk '{ print $14 + $15 }' "/proc/$1/stat" 2>/dev/null || true; }

run() {
  local target=$1 log=artifacts/$1.log used=0 now pid outcome="nothing found"
  mkdir -p "corpus/$target" "artifacts/$target"
  # It goes on from where the campaigns before it have come to.
  if [ -f "corpora/$target.tar.gz" ]; then tar --extract --gzip --file "corpora/$target.tar.gz" --directory "corpus/$target"; fi
  local before
  before=$(find "artifacts/$target" -type f | wc -l)
  # An input is given time for all those who come first; its own is in the log as slowest_unit_time_sec.
  chrt --idle 0 "$programs/$target" "corpus/$target" -dict="$(dictionary "$target")" -artifact_prefix="artifacts/$target/" \
    -rss_limit_mb=2048 -timeout="$patience" -report_slow_units="$patience" -reload=0 -print_final_stats=1 >"$log" 2>&1 &
  pid=$!
  while now=$(ticks $pid) && [ -n "$now" ]; do
    used=$now
    if [ $((used / ticks_per_second)) -ge $((minutes * 60)) ]; then
      kill -INT $pid
      break
    fi
    sleep 2
  done
  wait $pid || true
  if [ "$(find "artifacts/$target" -type f | wc -l)" -gt "$before" ]; then outcome="FOUND, see artifacts/$target"; fi
  # The last line of progress has the edges that were reached; the programs count their runs at the end.
  printf '| `%s` | %d | %s | %s | %s |\n' "$target" $((used / ticks_per_second / 60)) \
    "$(grep -o 'stat::number_of_executed_units: *[0-9]*' "$log" | grep -o '[0-9]*$' || grep -o '^#[0-9]*' "$log" | tail -n 1 | tr -d '#')" \
    "$(grep -o 'cov: [0-9]*' "$log" | tail -n 1 | grep -o '[0-9]*')" "$outcome"
}

if [ -z "${FUZZ_PROGRAMS:-}" ]; then cargo +nightly fuzz build --sanitizer none; fi
echo '| target | minutes | inputs | edges | |'
echo '|---|---:|---:|---:|---|'
for target in "${targets[@]}"; do
  while [ "$(jobs -rp | wc -l)" -ge 2 ]; do wait -n; done
  run "$target" &
done
wait
