# Counts cases: tests/conformance/cases.tsv, then what the test runner printed.
# The last line is `conformance: N passed, N failed, N not applicable`.

BEGIN { FS = "\t" }

/^#/ && FNR == NR { next }
FNR == NR {
  cases[++total] = $1
  group = $1; sub(/-[0-9]+$/, "", group); group_of[$1] = group
  if (!(group in seen)) { seen[group] = 1; groups[++group_total] = group }
  title[$1] = $2; reason[$1] = $3
  next
}

# `PASS [ 0.1s] (1/9) binary path::name`, as cargo-nextest writes it.
match($0, /^ *(PASS|FAIL|TIMEOUT|SIGABRT|SIGSEGV|ABORT|LEAK) /) {
  split(substr($0, RSTART, RLENGTH), outcome, " ")
  words = split($0, word, " ")
  count_name(word[words], outcome[1] == "PASS" || outcome[1] == "LEAK")
}

function count_name(name, passed,    part, parts, at, group) {
  sub(/.*::/, "", name)
  parts = split(name, part, "_")
  group = toupper(part[1]); at = 2
  if (group == "DP") { group = group "-" toupper(part[2]); at = 3 }
  for (; at <= parts && part[at] ~ /^[0-9][0-9]$/; at++) {
    id = group "-" part[at]
    if (!(id in title)) { print "no such case: " id " (" name ")"; unknown++ }
    if (passed) { good[id]++ } else { bad[id]++; print "failed: " id " by " name }
  }
}

END {
  for (i = 1; i <= total; i++) {
    id = cases[i]; group = group_of[id]
    if (id in bad) { failed[group]++ }
    else if (id in good) { passed[group]++ }
    else if (reason[id] != "") { absent[group]++ }
    else { failed[group]++; print "no test: " id "  " title[id] }
  }
  printf "\n%-8s %7s %7s %15s\n", "group", "passed", "failed", "not applicable"
  for (i = 1; i <= group_total; i++) {
    group = groups[i]
    printf "%-8s %7d %7d %15d\n", group, passed[group], failed[group], absent[group]
    all_passed += passed[group]; all_failed += failed[group]; all_absent += absent[group]
  }
  for (i = 1; i <= total; i++) {
    id = cases[i]
    if (!(id in good) && !(id in bad) && reason[id] != "") { print id " is not applicable: " reason[id] }
  }
  all_failed += unknown
  printf "conformance: %d passed, %d failed, %d not applicable\n", all_passed, all_failed, all_absent
  exit all_failed > 0 || all_absent > 15
}
