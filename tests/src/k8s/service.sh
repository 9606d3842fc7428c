#!/bin/bash
# The lab's service manager. It knows one service, kubelet.service as Kubernetes' packages have it, and starts it again when it ends.
set -u
pid=/run/kubelet.pid

unit() {
  echo $$ >"$pid"
  while :; do
    KUBELET_KUBEADM_ARGS=; KUBELET_EXTRA_ARGS=
    for file in /var/lib/kubelet/kubeadm-flags.env /etc/default/kubelet; do [ ! -e "$file" ] || . "$file"; done
    # shellcheck disable=SC2086
    kubelet --bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf \
      --config=/var/lib/kubelet/config.yaml $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS >>/var/log/kubelet.log 2>&1
    sleep 1
  done
}

stop() {
  [ -e "$pid" ] || return 0
  kill -TERM -- "-$(cat "$pid")" 2>/dev/null
  while kill -0 -- "-$(cat "$pid")" 2>/dev/null; do sleep 0.1; done
  rm -f "$pid"
}

case "$*" in
unit) unit ;;
"stop kubelet") stop ;;
"start kubelet" | "restart kubelet")
  stop
  setsid "$0" unit </dev/null >/dev/null 2>&1 &
  until [ -e "$pid" ]; do sleep 0.1; done ;;
"is-active kubelet") [ -e "$pid" ] ;;
daemon-reload | "status kubelet" | "is-enabled kubelet") ;;
*) echo "no such thing here: $*" >&2; exit 1 ;;
esac
