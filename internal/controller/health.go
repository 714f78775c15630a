package controller

import (
	"fmt"
	"net/http"
	"time"
)

// overdueLimit is how late a pass may be before the operator counts as stuck. A pass that fails is repeated within
// a minute, so that neither PayU's trouble nor the API server's makes it late.
const overdueLimit = 5 * time.Minute

// Healthy is a liveness check: it fails if PayUTokens are due and nobody looks at them. An operator that has
// stopped working answers a ping all the same.
func (r *Reconciler) Healthy(*http.Request) error {
	if late := r.memories.overdue(r.now()); late > overdueLimit {
		return fmt.Errorf("a PayUToken has been due for %s and was not looked at", late.Round(time.Second))
	}
	return nil
}
