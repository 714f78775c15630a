// Command pause holds the namespaces of a pod on the node that the end-to-end test starts, where no registry has the
// usual image for that.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	<-stop
}
