foreach(part usage run batch chat pull tools bad_input)
    vl2_python_test(cli_${part} FILE test_${part}.py)
endforeach()
vl2_python_test(cli_install FILE test_install.py LABELS plain)
