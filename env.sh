export PYTHONPATH=/tmp/lead/i3/wt:/tmp/lead/i3/wt/tests/support:/tmp/lead/i3env/lib/python3.11/site-packages OMP_NUM_THREADS=1
