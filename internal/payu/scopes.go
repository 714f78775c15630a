package payu

// Product is one of PayU's products, with the scopes that PayU documents for it.
type Product struct {
	Name   string
	Scopes []string
}

// Products lists every scope that PayU documents. PayU may know others, so the list serves help and completion only.
var Products = []Product{
	{"payment links", []string{"create_payment_links", "update_payment_links", "read_payment_links", "delete_payment_links"}},
	{"partners", []string{"refer_merchant", "refer_child_merchant", "fetch_child_merchants", "send_sign_in_otp", "verify_sign_in_otp",
		"client_manage_agreement", "client_manage_kyc_details", "create_bank_details", "user_token"}},
	{"resellers", []string{"partner_payments", "partner_payment_links"}},
	{"payouts", []string{"create_payout_transactions"}},
	{"bank account verification", []string{"verify_bank_account"}},
	{"bill payments (BBPS)", []string{"read_bills", "read_billers", "read_biller_categories", "read_plans",
		"read_transactions", "create_transactions"}},
	{"invoices", []string{"read_invoices"}},
}

// Scopes returns the scopes of all products.
func Scopes() (scopes []string) {
	for _, product := range Products {
		scopes = append(scopes, product.Scopes...)
	}
	return scopes
}
