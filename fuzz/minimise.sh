#!/usr/bin/env bash
# Leaves in the corpora of fuzz targets as few inputs as reach what all of them reach, and packs these into
# corpora/<target>.tar.gz, which are committed: fuzz/minimise.sh [TARGET...]. Not while a campaign writes to them.
set -euo pipefail
cd "$(dirname "$0")"

targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then mapfile -t targets < <(cargo fuzz list); fi
# Where the programs are; by default they are built here.
programs=${FUZZ_PROGRAMS:-target/$(rustc -vV | sed -n 's/^host: //p')/release}
if [ -z "${FUZZ_PROGRAMS:-}" ]; then cargo +nightly fuzz build --sanitizer none; fi
# Longer inputs, in bytes, stay out of the pack: the tests go through all of it.
packed_len=8192

# An archive of the inputs of a directory that is the same whenever it is made of the same inputs.
pack() {
  find "$1" -type f -size -"$((packed_len + 1))"c -printf '%P\n' | LC_ALL=C sort |
    tar --create --directory "$1" --files-from - --owner 0 --group 0 --numeric-owner --mode 644 --mtime @0 --format ustar |
    gzip --no-name -9 >"corpora/$2.tar.gz"
}
count() { find "$1" -type f | wc -l; }

mkdir -p corpora artifacts
echo '| target | inputs before | inputs | packed | bytes |'
echo '|---|---:|---:|---:|---:|'
for target in "${targets[@]}"; do
  mkdir -p "corpus/$target"
  # What was packed before counts as well.
  if [ -f "corpora/$target.tar.gz" ]; then tar --extract --gzip --file "corpora/$target.tar.gz" --directory "corpus/$target"; fi
  before=$(count "corpus/$target")
  least=$(mktemp --directory --tmpdir=corpus ".$target.XXXXXX")
  "$programs/$target" -set_cover_merge=1 -timeout=3600 "$least" "corpus/$target" >"artifacts/$target-merge.log" 2>&1
  rm -r "corpus/$target"
  mv "$least" "corpus/$target"
  chmod 755 "corpus/$target"
  pack "corpus/$target" "$target"
  printf '| `%s` | %d | %d | %d | %d |\n' "$target" "$before" "$(count "corpus/$target")" \
    "$(tar --list --file "corpora/$target.tar.gz" | wc -l)" "$(stat --format %s "corpora/$target.tar.gz")"
done
