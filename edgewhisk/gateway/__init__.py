"""The gateway as a whole: builds the stages, starts them in order, stops them in reverse."""
