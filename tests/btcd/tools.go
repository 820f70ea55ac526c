//go:build tools

// Package btcd pins btcd, the chain back end of the tests: 'go mod tidy' keeps what is imported.
package btcd

import _ "github.com/btcsuite/btcd"
