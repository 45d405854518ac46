def main(argv=None): raise SystemExit(2)
