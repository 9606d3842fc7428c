# The stages of ./test. Sourced, not run. Each stage is a function stage_NAME whose output goes to a log; its exit code
# tells, and `count P F S` in it says how many passed, failed and were skipped. A stage that cannot run says why with
# `skip_stage REASON` and is counted as one skipped.

logs=${MESHD_TEST_LOGS:-$(mktemp -d /tmp/meshd-test-XXXXXX)}; mkdir -p "$logs"
rows=(); reasons=(); measured=(); total_passed=0; total_failed=0; total_skipped=0

count() { passed=$1; failed=$2; skipped=$3; }
skip_stage() { skip_reason=$*; }

run_stages() {
  local name
  for name in "$@"; do run_stage "$name"; done
}

run_stage() {
  local name=$1 code begin log="$logs/$1.log" outcome
  passed=; failed=; skipped=; skip_reason=
  printf '== %s ... ' "$name"
  begin=$(date +%s%N)
  "stage_$name" >"$log" 2>&1; code=$?
  local seconds; seconds=$(awk -v n="$(( $(date +%s%N) - begin ))" 'BEGIN{printf "%.1f", n/1e9}')
  if [ -n "$skip_reason" ]; then outcome=skipped; count 0 0 1; reasons+=("$name: $skip_reason")
  elif [ $code = 0 ]; then outcome=ok; [ -n "$passed" ] || count 1 0 0
  else outcome=FAILED; [ -n "$passed" ] || count 0 1 0; [ "$failed" != 0 ] || failed=1; fi
  printf '%s (%s s)\n' "$outcome" "$seconds"
  [ $outcome != FAILED ] || show_failure "$log"
  rows+=("$(printf '%-9s %-8s %7d %7d %8d %9s' "$name" $outcome "$passed" "$failed" "$skipped" "$seconds")")
  total_passed=$((total_passed + passed)); total_failed=$((total_failed + failed))
  total_skipped=$((total_skipped + skipped))
}

show_failure() {
  say "-- the last lines of $1:"; tail -n 120 "$1"; say "-- (whole log: $1)"
}

# libtest's closing lines, added up; the lab's tests write a line per run-time skip to $MESHD_LAB_SKIPS
count_libtest() {
  local sums
  sums=$(sed -n 's/^test result: .* \([0-9]*\) passed; \([0-9]*\) failed; \([0-9]*\) ignored;.*/\1 \2 \3/p' "$1" \
    | awk '{p+=$1; f+=$2; s+=$3} END{print p+0, f+0, s+0}')
  # shellcheck disable=SC2086
  count $sums
}

print_table() {
  say ""
  printf '%-9s %-8s %7s %7s %8s %9s\n' stage result passed failed skipped seconds
  printf '%s\n' "${rows[@]}"
  if [ ${#measured[@]} -gt 0 ]; then say ""; say "measured:"; printf '  %s\n' "${measured[@]}"; fi
  if [ ${#reasons[@]} -gt 0 ]; then say ""; say "skipped:"; printf '  %s\n' "${reasons[@]}"; fi
  say ""
  say "$total_passed passed, $total_failed failed, $total_skipped skipped"
  [ "$total_failed" = 0 ]
}

stage_fmt() {
  as_builder cargo fmt --version >/dev/null 2>&1 || { skip_stage "cargo fmt is not installed"; return; }
  as_builder cargo fmt --all --check
}

stage_clippy() {
  as_builder cargo clippy --version >/dev/null 2>&1 || { skip_stage "cargo clippy is not installed"; return; }
  as_builder cargo clippy --locked --workspace --all-targets --test lab --test k8s -- -D warnings || return 1
  # what embedded boxes are given
  as_builder cargo clippy --locked -p meshd --no-default-features --lib --bins -- -D warnings
}

stage_doc() { as_builder env RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps; }

# licences, bans and sources of every dependency; advisories need a database from the network and are not asked here
deny_version=0.20.2
stage_deny() {
  local root; root=$(cache_dir)/cargo-deny-$deny_version
  if [ ! -x "$root/bin/cargo-deny" ]; then
    as_builder cargo install --quiet --locked --root "$root" "cargo-deny@$deny_version" \
      || { skip_stage "cargo-deny $deny_version could not be built"; return; }
  fi
  as_builder "$root/bin/cargo-deny" --locked check licenses bans sources
}

# everything that later stages run, at once: with the same selection each time, so that nothing is built twice
stage_build() { as_builder cargo build --locked --workspace --bins --tests; }

# a test that hangs ends its stage after this many seconds, far above what a stage takes
unit_bound=1200
lab_bound=5400
k8s_bound=1800

# unit tests, the simulator, the rules of the code base, each crate's own tests; the lab is not among them (test = false)
stage_unit() {
  local log=$logs/unit.out code=0
  as_builder timeout -k 10 "$unit_bound" cargo test --locked --no-fail-fast --workspace -- "${names[@]}" >"$log" 2>&1 || code=1
  cat "$log"; count_libtest "$log"
  return $code
}

# tests beside Flannel and BIRD, and of examples, say that they were skipped where these cannot be had
stage_lab() {
  local flannel code
  flannel=$(get_flannel); code=$?
  [ $code = 0 ] || [ $code = 3 ] || return 1
  local hclfmt cloud_init
  hclfmt=$(get_hclfmt) || say "HashiCorp's formatter cannot be had"
  cloud_init=$(get_cloud_init) || say "cloud-init cannot be had"
  have bird || (apt_install bird2) || say "bird2 cannot be had"
  MESHD_LAB_FLANNEL=$flannel run_lab lab "${names[@]}"
}
stage_long() { run_lab long --ignored --skip speed:: "${names[@]}"; }

# the long tests whose bars are for optimised programs on a computer that does nothing else
stage_speed() {
  as_builder cargo build --locked --release --workspace --bins || return 1
  local programs=$top/target/release only=speed:: threads=1
  run_lab speed --ignored "${names[@]}"
}

# how soon 200 nodes know of a newcomer, and how many simulated worlds there are in a minute, in an optimised build
stage_scale() {
  local log=$logs/scale.out code=0
  as_builder cargo test --locked --release -p meshrelay --test scale -- --ignored --nocapture >"$log" 2>&1 || code=1
  as_builder cargo test --locked --release -p meshd-core --test paths -- --ignored --nocapture >>"$log" 2>&1 || code=1
  cat "$log"; count_libtest "$log"
  mapfile -t -O "${#measured[@]}" measured < <(sed -n 's/^figure: //p' "$log")
  return $code
}

# a cluster of real Kubernetes, one at a time
stage_k8s() {
  local parts tools code threads=1 test=k8s bound=$k8s_bound
  local wants; wants=$(sed -n 's/^go //p' "$top/tests/k8s/go.mod")
  have go || { skip_stage "Kubernetes is built from its Go modules, and Go is not installed: install Go $wants or newer, then run ./test --k8s"; return; }
  need bash=bash dpkg-deb=dpkg
  parts=$(get_k8s); code=$?
  [ $code != 3 ] || { skip_stage "Kubernetes' Go modules, or Debian's busybox-static and libseccomp-dev, could not be had ($(go env GOVERSION 2>/dev/null || echo "no Go that runs") is here, $wants or newer is wanted; the reason is in $logs/k8s.log)"; return; }
  [ $code = 0 ] || return 1
  export MESHD_K8S_PARTS=$parts MESHD_KUBEADM_IMAGES
  tools=$(get_etcd_tools); code=$?
  [ $code != 3 ] || { skip_stage "the Go modules of etcd's tools could not be had (the reason is in $logs/k8s.log)"; return; }
  [ $code = 0 ] || return 1
  MESHD_KUBEADM_IMAGES=$(get_kubeadm "$parts" "$tools") || return 1
  # tests of k3s say that they were skipped where it cannot be had
  MESHD_K3S=$(get_k3s); code=$?
  [ $code = 0 ] || [ $code = 3 ] || return 1
  export MESHD_K3S
  local long=()
  if [ "${mode:-}" = long ]; then
    long=(--include-ignored)
    # the server alone, without a service
    (PATH=$PATH:/usr/sbin need mariadbd=mariadb-server-core mariadb-install-db=mariadb-server-core) || say "MariaDB cannot be had"
  fi
  run_lab k8s "${long[@]}" "${names[@]}"
}

# run_lab NAME [libtest arguments]: the lab binary is built by the builder and run by root. Set before by the caller: `only`,
# the beginning of the names of the tests that are meant; `programs`, where the programs under test lie.
run_lab() {
  local name=$1 out=$logs/$1.out skips=$logs/$1.skips figures=$logs/$1.figures binary code=0 chosen; shift
  is_root || have sudo || { skip_stage "the lab needs root for its network namespaces"; return; }
  need_lab_tools
  stage_build || return 1
  binary=$(as_builder cargo test --locked --workspace --test "${test:-lab}" --no-run --message-format=json \
    | sed -n "s/.*\"executable\":\"\([^\"]*\/${test:-lab}-[^\"]*\)\".*/\1/p" | tail -1)
  [ -n "$binary" ] || { say "the lab did not build"; return 1; }
  : >"$skips"; : >"$figures"
  if [ -n "${only:-}" ]; then
    mapfile -t chosen < <("$binary" --list "$@" | sed -n "s/^\($only.*\): test\$/\1/p")
    [ ${#chosen[@]} != 0 ] || { skip_stage "none of its tests is meant"; return; }
    set -- --ignored --exact "${chosen[@]}"
  fi
  local arm=$top/target/cross/aarch64-unknown-linux-gnu/debug
  [ -x "$arm/meshd" ] || arm=
  local strict=; [ "${mode:-}" != long ] || strict=1
  as_root env ${strict:+MESHD_LAB_STRICT=1} ${MESHD_K8S_PARTS:+MESHD_K8S_PARTS="$MESHD_K8S_PARTS"} ${MESHD_KUBEADM_IMAGES:+MESHD_KUBEADM_IMAGES="$MESHD_KUBEADM_IMAGES"} ${MESHD_K3S:+MESHD_K3S="$MESHD_K3S"} ${MESHD_LAB_FLANNEL:+MESHD_LAB_FLANNEL="$MESHD_LAB_FLANNEL"} ${hclfmt:+MESHD_LAB_HCLFMT="$hclfmt"} ${cloud_init:+MESHD_LAB_CLOUD_INIT="$cloud_init"} MESHD_LAB_PEERS="$(get_peers)" ${arm:+MESHD_LAB_AARCH64="$arm"} MESHD_LAB_SKIPS="$skips" MESHD_LAB_FIGURES="$figures" MESHD_LAB_BIN="${programs:-$top/target/debug}" PATH="$PATH" \
    timeout -k 10 "${bound:-$lab_bound}" "$binary" --test-threads "${threads:-${MESHD_LAB_THREADS:-2}}" "$@" >"$out" 2>&1 || code=1
  cat "$out"; count_libtest "$out"
  while IFS= read -r line; do
    reasons+=("$line"); passed=$((passed - 1)); skipped=$((skipped + 1))
  done <"$skips"
  mapfile -t -O "${#measured[@]}" measured <"$figures"
  return $code
}

stage_bench() { as_builder cargo bench --locked -p meshd-bench -- --test; }

# the bars of throughput, cost, latency and memory beside other tunnels, with few rounds; on a computer that does other things those
# of cost and memory only
stage_bars() {
  local out=$logs/bars.out code=0
  is_root || have sudo || { skip_stage "network namespaces need root"; return; }
  as_builder cargo build --locked --release --workspace --bins || return 1
  bench/limits | tee "$out"; code=${PIPESTATUS[0]}
  MESHD_LAB_BIN=$top/target/release bench/compare --rounds 3 --seconds 0.5 | tee -a "$out"; code=$((code + PIPESTATUS[0]))
  mapfile -t -O "${#measured[@]}" measured < <(sed -n 's/^whole batch/whole batch/p; s/^| \(.*\) | \(.*\) | \(at .*\) | \(.*\) |$/\1: \2 (\3, \4)/p' "$out")
  [ "$code" = 0 ]
}

# aarch64 binaries, for the lab's emulated node
stage_cross() {
  [ "$(uname -m)" = x86_64 ] || { skip_stage "cross-building for aarch64 is done on amd64"; return; }
  need qemu-aarch64-static=qemu-user-static
  packaging/cross-aarch64 || return 1
  as_builder aarch64-linux-gnu-gcc -O1 -Wall -Werror -shared -fPIC -o target/cross/aarch64-unknown-linux-gnu/debug/netlink.so \
    tests/emulation/netlink.c -ldl
}

# the .deb, its contents, and that what it brings is well-formed
stage_package() {
  local deb
  stage_build || return 1
  deb=$(packaging/build-deb --programs target/debug | tail -1) || return 1
  packaging/check-deb "$deb"
}

# that the fuzzers, which are a workspace of their own, still compile
stage_targets() {
  need c++=g++
  as_builder cargo check --quiet --locked --manifest-path fuzz/Cargo.toml
}

# each parser's fuzzer for a while, from its committed corpus
fuzz_version=0.13.2
stage_fuzz() {
  local root; root=$(cache_dir)/cargo-fuzz-$fuzz_version
  need c++=g++
  [ -x "$root/bin/cargo-fuzz" ] || as_builder cargo install --quiet --locked --root "$root" "cargo-fuzz@$fuzz_version" \
    || { skip_stage "cargo-fuzz $fuzz_version could not be built"; return; }
  as_builder env PATH="$root/bin:$PATH" fuzz/run "${MESHD_FUZZ_SECONDS:-20}"
}
