"""The programs that measured the documentation's figures of time, memory and pictures."""
