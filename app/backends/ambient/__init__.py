"""The Ambient Code Platform backend behind the port: sessions live in Kubernetes, this package speaks HTTP to them."""
