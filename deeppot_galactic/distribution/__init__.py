"""The distribution function f(x, v) of the stars: estimators of ln f and its gradients behind one interface."""
