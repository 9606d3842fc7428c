// CoreDNS with the plugins that a cluster's Corefile names, and no others: what the full program links takes longer to build
// than Kubernetes itself.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"

	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/hosts"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/loadbalance"
	_ "github.com/coredns/coredns/plugin/log"
	_ "github.com/coredns/coredns/plugin/loop"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/reload"
)

func main() {
	// the order in which plugins see a query, as upstream's plugin.cfg has it
	dnsserver.Directives = []string{
		"reload", "errors", "log", "health", "ready", "cache", "loop", "loadbalance", "hosts", "kubernetes", "forward",
	}
	coremain.Run()
}
