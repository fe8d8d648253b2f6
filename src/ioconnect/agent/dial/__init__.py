"""From the name of a jumphost to a connected socket: resolve, happy eyeballs, proxies."""
