package payu

import "slices"

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

// ProductOf returns the name of the product that PayU documents a scope for, empty if it documents none.
func ProductOf(scope string) string {
	for _, product := range Products {
		if slices.Contains(product.Scopes, scope) {
			return product.Name
		}
	}
	return ""
}

// typo is the edit distance up to which an unknown scope is taken for a misspelled one.
const typo = 2

// SimilarScope returns the scope that PayU documents and that a misspelled one resembles most; empty if none does, or if
// PayU documents the scope itself.
func SimilarScope(scope string) (similar string) {
	known, closest := Scopes(), typo+1
	if slices.Contains(known, scope) {
		return ""
	}
	for _, candidate := range known {
		if d := editDistance(scope, candidate); d < closest {
			similar, closest = candidate, d
		}
	}
	return similar
}

// editDistance counts the bytes to insert, delete or replace to turn one word into the other (Levenshtein).
func editDistance(a, b string) int {
	row := make([]int, len(b)+1) // the distances of a[:i] to each b[:j]
	for j := range row {
		row[j] = j
	}
	for i := range a {
		diagonal := row[0]
		row[0] = i + 1
		for j := range b {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
