"""How much a look looks at. Needs no torch."""

# Pictures of each target, of each of its other names, and how many of the nearest words, with one picture each.
TARGET_PICTURES, NAME_PICTURES, NEAR_WORDS = 3, 1, 6
# All must be gone in so many looks in a row.
LOOKS_IN_A_ROW = 2
