# Shared by ./test, ./demo and packaging/*: who builds, what must be installed, where caches lie. Sourced, not run.
# Cargo always runs as the person who called (under sudo: as SUDO_USER), so that no file in the tree or in their
# cargo home becomes root's. Only apt-get and what needs network namespaces runs as root.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# a build that is thrown away needs no increments, which are half of what a build writes
[ -z "${CI:-}" ] || export CARGO_INCREMENTAL=0

say() { printf '%s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
is_root() { [ "$(id -u)" = 0 ]; }

# the builder's home, for caches and for rustup
builder_home() {
  if is_root && [ -n "${SUDO_USER:-}" ]; then getent passwd "$SUDO_USER" | cut -d: -f6; else printf '%s' "$HOME"; fi
}

# run a command as the person who called
as_builder() {
  if is_root && [ -n "${SUDO_USER:-}" ] && [ "$SUDO_USER" != root ]; then
    runuser -u "$SUDO_USER" -- env HOME="$(builder_home)" PATH="$PATH" "$@"
  else
    "$@"
  fi
}

# run a command as root: directly, or by sudo where there is one
as_root() {
  if is_root; then "$@"; elif have sudo; then sudo "$@"; else
    die "this needs root: run it as root, or install sudo (missing: $*)"
  fi
}

# where built tools are kept between runs, outside the tree
cache_dir() {
  local dir=${MESHD_TEST_CACHE:-${XDG_CACHE_HOME:-$(builder_home)/.cache}/meshd-test}
  as_builder mkdir -p "$dir" && printf '%s' "$dir"
}

# need COMMAND=PACKAGE...: install the Debian packages whose command is missing, and no others
need() {
  local pair missing=()
  for pair in "$@"; do have "${pair%%=*}" || missing+=("${pair#*=}"); done
  [ ${#missing[@]} = 0 ] || apt_install "${missing[@]}"
}

apt_updated=
apt_install() {
  have apt-get || die "missing: $*. Install them with this system's package manager"
  say "installing: $*"
  if [ -z "$apt_updated" ]; then as_root apt-get update -qq || die "apt-get update failed"; apt_updated=1; fi
  # servers among them are for the lab's machines and do not start on this one
  local policy=/usr/sbin/policy-rc.d own= code=0
  [ -e $policy ] || { own=1; printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null; as_root chmod 755 $policy; }
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null || code=1
  [ -z "$own" ] || as_root rm -f $policy
  [ $code = 0 ] || die "apt-get could not install: $*"
}

# cargo on the PATH, and new enough for the workspace
need_rust() {
  PATH=$PATH:/usr/sbin:/sbin:$(builder_home)/.cargo/bin; export PATH
  have cargo || die "Rust is missing: install it (https://rustup.rs), then run this again"
  local wants has
  wants=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$top/Cargo.toml")
  has=$(as_builder rustc --version | cut -d' ' -f2)
  [ "$(printf '%s\n%s\n' "$wants" "$has" | sort -V | head -1)" = "$wants" ] \
    || die "rustc $has is too old: the workspace needs $wants or newer"
}

# a compiler without the C library's headers and start files links nothing
can_link() { printf 'int main(void) { return 0; }' | cc -x c -o /dev/null - 2>/dev/null; }

need_build_tools() {
  need cc=gcc ld=binutils make=make
  can_link || apt_install libc6-dev
  need_rust
}

# what the lab calls inside its namespaces
need_lab_tools() {
  need ip=iproute2 nft=nftables iptables=iptables ping=iputils-ping wg=wireguard-tools sysctl=procps \
    conntrack=conntrack dig=bind9-dnsutils ethtool=ethtool faketime=faketime unshare=util-linux setpriv=util-linux miniupnpd=miniupnpd-nftables
  # not every Debian has them all; without them tests of storage are skipped
  (need ganesha.nfsd=nfs-ganesha nfs-cp=libnfs-utils tgtd=tgt qemu-img=qemu-utils
    ls /usr/lib/*/ganesha/libfsalvfs.so >/dev/null 2>&1 || apt_install nfs-ganesha-vfs
    ls /usr/lib/*/qemu/block-iscsi.so >/dev/null 2>&1 || apt_install qemu-block-extra) || say "without servers of storage"
  (need ansible-inventory=ansible-core) || say "without Ansible"
}

# other WireGuard programs, for the interoperability tests: built once, kept in the cache under their versions. Prints
# the folder; what could not be had is not in it, and the tests that want it say that they were skipped.
boringtun_version=0.7.1
wireguard_go_version=v0.0.0-20260522210424-ecfc5a8d5446
get_peers() {
  local folder; folder=$(cache_dir)/peers-$boringtun_version-$wireguard_go_version/bin
  [ -x "$folder/boringtun-cli" ] || as_builder cargo install --quiet --locked --root "${folder%/bin}" \
    "boringtun-cli@$boringtun_version" >&2 || say "boringtun-cli could not be built" >&2
  if [ ! -x "$folder/wireguard-go" ]; then
    if have go && as_builder env GOBIN="$folder" GOFLAGS=-mod=mod go install "golang.zx2c4.com/wireguard@$wireguard_go_version" >&2
    then as_builder mv "$folder/wireguard" "$folder/wireguard-go"
    else need wireguard-go=wireguard-go >&2; as_builder mkdir -p "$folder"; as_builder ln -sf "$(command -v wireguard-go)" "$folder/"; fi
  fi
  printf '%s' "$folder"
}

# gotatun-cli, for the comparison of tunnels, kept in the same way. Prints the program's path; exits 3 where it cannot be built
gotatun_version=0.10.2
get_gotatun() {
  local root; root=$(cache_dir)/gotatun-cli-$gotatun_version
  [ -x "$root/bin/gotatun" ] || as_builder cargo install --quiet --locked --root "$root" "gotatun-cli@$gotatun_version" >&2 || return 3
  printf '%s' "$root/bin/gotatun"
}

# Debian's nebula, unpacked in the cache under its version: its service is not to run here. Prints the program's path, beside which
# nebula-cert lies; exits 3 where the package cannot be had
get_nebula() {
  local version folder
  have apt-get && have dpkg-deb || return 3
  ls /var/lib/apt/lists/*Packages* >/dev/null 2>&1 || as_root apt-get update -qq >&2
  version=$(apt-cache policy nebula | sed -n 's/^ *Candidate: //p')
  [ -n "$version" ] && [ "$version" != "(none)" ] || return 3
  folder=$(cache_dir)/nebula-$version
  if [ ! -x "$folder/usr/bin/nebula" ]; then
    as_builder mkdir -p "$folder" && (cd "$folder" && as_builder apt-get -o APT::Sandbox::User= download -qq nebula && as_builder dpkg-deb -x nebula_*.deb .) >&2 || return 3
  fi
  printf '%s' "$folder/usr/bin/nebula"
}

# real parts of Kubernetes, for the tests of clusters: built once, kept in the cache under the release and what they are made
# from. Prints the folder. Exits 3 where the sources cannot be had.
get_k8s() {
  local from=$top/tests/k8s version inputs folder
  version=$(sed -n 's|^\tk8s.io/kubernetes \(v[^ ]*\).*|\1|p' "$from/go.mod")
  inputs=$(cd "$from" && cat go.mod go.sum build image pause.c coredns/main.go | sha256sum | cut -c1-8)
  folder=$(cache_dir)/k8s-$version-$inputs
  # two of Debian's packages are unpacked there, which takes apt's lists
  [ -e "$folder/done" ] || ls /var/lib/apt/lists/*Packages* >/dev/null 2>&1 || as_root apt-get update -qq >&2
  as_builder "$from/build" "$folder" >&2 || return $?
  printf '%s' "$folder"
}

# etcdctl and etcdutl, which are in etcd's image: built once, kept in the cache. Prints the folder. Exits 3 where the sources cannot
# be had.
get_etcd_tools() {
  local from=$top/tests/etcd inputs folder
  inputs=$(cd "$from" && cat go.mod go.sum build | sha256sum | cut -c1-8)
  folder=$(cache_dir)/etcd-tools-$inputs
  as_builder "$from/build" "$folder" >&2 || return $?
  printf '%s' "$folder"
}

# the images that kubeadm asks for, of the parts of Kubernetes and etcd's tools in folders: made once, kept in the cache under what
# they are made from. Prints the folder.
get_kubeadm() {
  local parts=$1 tools=$2 from=$top/tests/kubeadm inputs folder
  inputs=$({ cat "$from/build" "$top/tests/k8s/image"; basename "$parts"; basename "$tools"; } | sha256sum | cut -c1-8)
  folder=$(cache_dir)/kubeadm-$(cat "$parts/done")-$inputs
  as_builder "$from/build" "$folder" "$parts" "$tools" >&2 || return $?
  printf '%s' "$folder"
}

# Flannel, for the tests beside another CNI: built once, kept in the cache under its release and what it is made from. Prints
# the folder, with bin/flanneld and bin/etcd. Exits 3 where the sources cannot be had.
get_flannel() {
  local from=$top/tests/flannel version inputs folder
  have go || { say "Flannel is built from its Go modules, and Go is missing" >&2; return 3; }
  version=$(sed -n 's|^require github.com/flannel-io/flannel \(v[^ ]*\).*|\1|p' "$from/go.mod")
  inputs=$(cd "$from" && find . -type f | LC_ALL=C sort | xargs cat | sha256sum | cut -c1-8)
  folder=$(cache_dir)/flannel-$version-$inputs
  [ -e "$folder/done" ] || ls /var/lib/apt/lists/*Packages* >/dev/null 2>&1 || as_root apt-get update -qq >&2
  as_builder "$from/build" "$folder" >&2 || return $?
  printf '%s' "$folder"
}

# HashiCorp's formatter, for the examples in its language: built once, kept in the cache. Prints the program's path. Exits 3 where it
# cannot be built.
get_hclfmt() {
  local from=$top/tests/hcl inputs folder
  have go || return 3
  inputs=$(cat "$from/go.mod" "$from/go.sum" | sha256sum | cut -c1-8)
  folder=$(cache_dir)/hclfmt-$inputs
  [ -x "$folder/hclfmt" ] || (cd "$from" && as_builder env CGO_ENABLED=0 go build -mod=readonly -trimpath -o "$folder/hclfmt" \
    github.com/hashicorp/hcl/v2/cmd/hclfmt) >&2 || return 3
  printf '%s' "$folder/hclfmt"
}

# Debian's cloud-init with what it needs of Python, unpacked in the cache under its version: installed here it would run at this
# computer's next start. Prints the folder; exits 3 where the packages cannot be had
get_cloud_init() {
  local version folder names
  have apt-get && have dpkg-deb && [ -x /usr/bin/python3 ] || return 3
  ls /var/lib/apt/lists/*Packages* >/dev/null 2>&1 || as_root apt-get update -qq >&2
  version=$(apt-cache policy cloud-init | sed -n 's/^ *Candidate: //p')
  [ -n "$version" ] && [ "$version" != "(none)" ] || return 3
  folder=$(cache_dir)/cloud-init-$version
  if [ ! -e "$folder/done" ]; then
    names=$(apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances cloud-init \
      | grep -E '^python3-[a-z0-9.-]*$')
    as_builder mkdir -p "$folder"
    # shellcheck disable=SC2086
    (cd "$folder" && as_builder apt-get -o APT::Sandbox::User= download -qq cloud-init $names \
      && for deb in *.deb; do as_builder dpkg-deb -x "$deb" .; done && as_builder rm -f ./*.deb && as_builder touch done) >&2 || return 3
  fi
  printf '%s' "$folder"
}

# k3s, for the tests of clusters: built once, kept in the cache under its release and what it is made from. Prints the folder, with
# bin/k3s and a containerd that it can use. Exits 3 where the sources cannot be had.
get_k3s() {
  local from=$top/tests/k3s version inputs folder
  version=$(sed -n 's|^\tgithub.com/rancher/k3s \(v[^ ]*\).*|\1|p' "$from/go.mod")
  inputs=$(cd "$from" && find . -type f | LC_ALL=C sort | xargs cat | sha256sum | cut -c1-8)
  folder=$(cache_dir)/k3s-$version-$inputs
  [ -e "$folder/done" ] || ls /var/lib/apt/lists/*Packages* >/dev/null 2>&1 || as_root apt-get update -qq >&2
  as_builder "$from/build" "$folder" >&2 || return $?
  printf '%s' "$folder"
}
