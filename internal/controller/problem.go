package controller

// problem is what keeps the operator from asking PayU or from writing the target Secret: a reason of the API
// and a message for the person who mends it.
type problem struct {
	reason  string
	message string
	// stalled is true if a person must act.
	stalled bool
}

func stalled(reason, message string) *problem {
	return &problem{reason: reason, message: message, stalled: true}
}
