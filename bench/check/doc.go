// Package check holds bench against other means of measuring the same. It has tests only.
package check
