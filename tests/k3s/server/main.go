// k3s as its own cmd/server has it, without the programs that it would unpack: no containerd, runc or CNI plugins. Server, agent,
// kubectl and crictl are k3s' code.
package main

import (
	"os"
	"path/filepath"

	"github.com/docker/docker/pkg/reexec"
	crictl2 "github.com/kubernetes-sigs/cri-tools/cmd/crictl"
	"github.com/rancher/k3s/pkg/cli/agent"
	"github.com/rancher/k3s/pkg/cli/cmds"
	"github.com/rancher/k3s/pkg/cli/server"
	"github.com/rancher/k3s/pkg/configfilearg"
	kubectl2 "github.com/rancher/k3s/pkg/kubectl"
	"github.com/sirupsen/logrus"
	"github.com/urfave/cli"
)

func init() {
	reexec.Register("kubectl", kubectl2.Main)
	reexec.Register("crictl", crictl2.Main)
}

func main() {
	// k3s' own wrapper starts these two by their names
	if len(os.Args) > 1 && (os.Args[1] == "kubectl" || os.Args[1] == "crictl") {
		os.Args = os.Args[1:]
	}
	called := os.Args[0]
	os.Args[0] = filepath.Base(called)
	if reexec.Init() {
		return
	}
	os.Args[0] = called

	app := cmds.NewApp()
	app.Commands = []cli.Command{
		cmds.NewServerCommand(server.Run),
		cmds.NewAgentCommand(agent.Run),
	}
	if err := app.Run(configfilearg.MustParse(os.Args)); err != nil {
		logrus.Fatal(err)
	}
}
