#!/bin/sh
# Two studies as CSV, written beside this file: sh reports/examples/studies.sh [muxq|osc] [NPUSIM]
# From the root of the source tree, with a built npusim (default: target/release/npusim).
set -eu
study=${1:-all}
npusim=${2:-target/release/npusim}
here=$(dirname "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Rows of `level` in a comparison: scheme, path, cycles, energy, its low and its high end.
rows() { # FILE LEVEL
  awk -F, -v OFS=, -v level="$2" '
    NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i }
    NR > 1 && $2 == level { print $1, $4, $(at["cycles"]), $(at["energy_pj"]), $(at["energy_low_pj"]), $(at["energy_high_pj"]) }' "$1"
}

if [ "$study" != osc ]; then
  # MUXQ on a block of GPT-2 small: shares of the 768 channels, exponents, and the three ways of the auxiliary product.
  out="$here/muxq_overhead.csv"
  echo "auxiliary,exponent,outlier_percent,outlier_channels,path,cycles,energy_pj,energy_low_pj,energy_high_pj,cycles_ratio,energy_ratio" > "$out"
  for mode in separate_gemm fused_accumulate tender_shift; do
    for exponent in 1 2 3 4 5; do
      list=w8a8_per_token_per_channel
      for percent in 0 1 2 5 10; do
        channels=$(awk -v p="$percent" 'BEGIN { print int(768 * p / 100 + 0.5) }')
        name="$mode.$exponent.$percent.$channels"
        sed -e "s/^name: .*/name: $name/" -e "s/auxiliary: fused_accumulate/auxiliary: $mode/" \
          -e "s/exponent: 2/exponent: $exponent/" workloads/schemes/muxq_per_token_per_channel.yaml > "$work/$name.yaml"
        printf 'assumed_channels: %s\n' "$channels" >> "$work/$name.yaml"
        list="$list,$work/$name.yaml"
      done
      # assumed: the accumulators shift all sums of a tile by one bit in a cycle, as Tender's elements do.
      "$npusim" compare --hw hw-configs/edge-int8.yaml --workload workloads/gpt2-small-block.yaml --schemes "$list" --no-numerics \
        --set matrix_units.0.accumulator_shift_cycles=1 --out "$work/$mode.$exponent" > /dev/null
      { rows "$work/$mode.$exponent/compare.csv" run; rows "$work/$mode.$exponent/compare.csv" run_path; } |
        awk -F, -v OFS=, '
          $1 == "w8a8_per_token_per_channel" { if ($2 == "") { cycles = $3; energy = $4 } next }
          { split($1, of, "."); path = $2 == "" ? "total" : $2
            print of[1], of[2], of[3], of[4], path, $3, $4, $5, $6, $3 / cycles, $4 / energy }' >> "$out"
    done
  done
fi

if [ "$study" != muxq ]; then
  # OSC on a decoder layer of Qwen3-8B over 1024 tokens, against W8A8 and W4A4, with and without MXFP8 for down projections.
  out="$here/osc_energy.csv"
  echo "scheme,path,cycles_per_token,energy_pj_per_token,energy_low_pj_per_token,energy_high_pj_per_token" > "$out"
  "$npusim" compare --hw hw-configs/mx-npu.yaml --workload workloads/qwen3-8b-layer.yaml --no-numerics --out "$work/osc" \
    --schemes w8a8_per_token_per_channel,mxfp8_e4m3,mxfp4,osc_mxfp4,osc_mxfp4_compact,osc_mxfp4_fp8_fallback > /dev/null
  { rows "$work/osc/compare.csv" run; rows "$work/osc/compare.csv" run_path; } |
    awk -F, -v OFS=, '{ print $1, $2 == "" ? "total" : $2, $3 / 1024, $4 / 1024, $5 / 1024, $6 / 1024 }' >> "$out"
fi
