/* How the engine calls a kernel of CONV_2D, whose file defines `check` and `run`: compiled to INT8 or to int16. */
#ifdef EDGE_INT16
static edge_convolution fields(const edge_convolution_int16 *p)
{
    edge_convolution copy;
    memcpy(&copy, p, sizeof copy);
    return copy;
}

bool edge_check_convolution_int16(const edge_model *m, const edge_convolution_int16 *p)
{
    const edge_convolution copy = fields(p);
    return check(m, &copy);
}

void edge_run_convolution_int16(const edge_model *m, const edge_convolution_int16 *p)
{
    const edge_convolution copy = fields(p);
    run(m, &copy);
}
#else
bool edge_check_convolution(const edge_model *m, const edge_convolution *p) { return check(m, p); }

void edge_run_convolution(const edge_model *m, const edge_convolution *p) { run(m, p); }
#endif
