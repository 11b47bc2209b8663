"""What helps to learn: pictures of a computation, and checks of its gradients."""
