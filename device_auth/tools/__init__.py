"""What a maker at a desk works with: the authorization-code flow, and the way to other clients."""
