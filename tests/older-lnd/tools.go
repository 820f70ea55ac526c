//go:build tools

// Package olderlnd pins the LND that the tests of the fence come from: 'go mod tidy' keeps what is imported.
package olderlnd

import _ "github.com/lightningnetwork/lnd/cmd/lnd"
