vl2_python_test(cli_install FILE test_install.py LABELS plain)
