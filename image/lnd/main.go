// One program that serves as lnd or as lncli, by the name it is called with: the two share nearly all
// their code, so one file of 83 MB takes the place of two of 153 MB.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/jessevdk/go-flags"
	"github.com/lightningnetwork/lnd"
	"github.com/lightningnetwork/lnd/cmd/commands"
	"github.com/lightningnetwork/lnd/signal"
)

func main() {
	if filepath.Base(os.Args[0]) == "lncli" {
		commands.Main()
		return
	}
	if err := daemon(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// daemon runs lnd until a signal or StopDaemon ends it.
func daemon() error {
	interceptor, err := signal.Intercept()
	if err != nil {
		return err
	}
	config, err := lnd.LoadConfig(interceptor)
	var flagError *flags.Error
	if errors.As(err, &flagError) && flagError.Type == flags.ErrHelp {
		return nil
	}
	if err != nil {
		return fmt.Errorf("failed to load config: %w", err)
	}
	return lnd.Main(config, lnd.ListenerCfg{}, config.ImplementationConfig(interceptor), interceptor)
}
