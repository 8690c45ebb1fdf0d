package checker

import "strings"

// renewal is how this use's certificates are renewed, restart how the program
// that holds them is restarted; otherwise stands in when a profile says nothing.
func renewal(u *Use, otherwise string) string { return u.fill(u.Renew, otherwise) }

func restart(u *Use, otherwise string) string { return u.fill(u.Restart, otherwise) }

// fill puts the instance into an instruction. When the instance could not be
// told, the instruction keeps a word that a person can fill in.
func (u *Use) fill(instruction, otherwise string) string {
	if instruction == "" {
		return otherwise
	}
	instance := u.Instance
	if instance == "" {
		instance = "<main|events|cilium|leases>"
	}
	return strings.ReplaceAll(instruction, "{instance}", instance)
}
