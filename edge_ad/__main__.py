"""`python -m edge_ad` is `edge-ad`."""

from edge_ad.cli import main

if __name__ == "__main__":  # a process of `bench` imports this, too
    main()
