"""The exports to other clients, the authorization-code flow, and the self-test of the parts."""
