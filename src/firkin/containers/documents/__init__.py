"""What containers are on paper: requests, records, states, and the rules about them. Pure."""
