//! Files whose tensors are made large by one operator.

use super::files::{Case, VALUES, summed};

const IMAGE: &str = "Unsqueeze x axes > image;";

pub(crate) fn large_by_one_operator() -> Vec<Case> {
    let of_image = |line: &str, stored: &str| summed(13, &format!("{IMAGE} {line}"), &format!("axes=1 {stored}"));
    let nearest = "mode=nearest coordinate_transformation_mode=asymmetric";
    vec![
        (
            "Resize to sizes",
            Some("the operator Resize (node \"Resize of big\") gives 17179869184 values"),
            of_image(&format!("Resize image _ _ sizes > big | {nearest}"), "sizes=1,1,17179869184"),
        ),
        (
            "Resize to sizes of 31 bits",
            Some(VALUES),
            of_image(&format!("Resize image _ _ sizes > big | {nearest}"), "sizes=1,1,2000000000"),
        ),
        (
            "Resize by scales",
            Some(VALUES),
            of_image(&format!("Resize image _ scales > big | {nearest}"), "scales~1,1,4e9"),
        ),
        (
            "Resize by an infinite scale",
            Some("gives a tensor of the size -6"),
            of_image(&format!("Resize image _ scales > big | {nearest}"), "scales~1,1,inf"),
        ),
        (
            "Upsample",
            Some("the operator Upsample is not supported"),
            summed(9, "Upsample x scales > big | mode=nearest", "scales~1,4e9"),
        ),
        ("ConstantOfShape", Some(VALUES), summed(13, "ConstantOfShape shape > big", "shape=1048576,1048576")),
        (
            "a size that overflows",
            Some(VALUES),
            summed(13, "ConstantOfShape shape > big", "shape=8589934592,8589934592"),
        ),
        ("a side of nothing", Some(VALUES), summed(13, "ConstantOfShape shape > big", "shape=1099511627776,0")),
        ("a negative side", Some(VALUES), summed(13, "ConstantOfShape shape > big", "shape=-1099511627776,-4")),
        ("Expand", Some(VALUES), summed(13, "Expand x shape > big", "shape=17179869184,6")),
        ("Tile", Some(VALUES), summed(13, "Tile x times > big", "times=1,17179869184")),
        ("Pad", Some(VALUES), summed(13, "Pad x pads > big", "pads=0,0,0,17179869184")),
        (
            "Pad to and fro",
            Some(VALUES),
            summed(
                13,
                "Pad x pads > a; Pad a back > big",
                "pads=0,0,0,9223372036854775807 back=0,0,0,-9223372036854775807",
            ),
        ),
        ("Pad of opset 9", Some("17179869184 in its pads"), summed(9, "Pad x > big | pads=[0,17179869184,0,0]", "")),
        ("Range", Some(VALUES), summed(13, "Range nought end one > big", "nought=:0 end=:1099511627776 one=:1")),
        (
            "Range downwards",
            Some(VALUES),
            summed(13, "Range end nought step > big", "nought=:0 end=:1099511627776 step=:-1"),
        ),
        (
            "Range in small steps",
            Some(VALUES),
            summed(13, "Range nought end step > big", "nought~:0 end~:1e6 step~:1e-6"),
        ),
        (
            "Range in steps of nothing",
            Some(VALUES),
            summed(13, "Range nought end step > big", "nought~:0 end~:1e6 step~:0"),
        ),
        (
            "Range to what the input says",
            Some("cannot be told from the file"),
            summed(13, "ReduceSum x > limit | keepdims=0; Range nought limit one > big", "nought~:0 one~:1"),
        ),
        (
            "ConstantOfShape by the input",
            Some("cannot be told from the file"),
            summed(13, "Cast x > i | to=7; Squeeze i nought > s; ConstantOfShape s > big", "nought=0"),
        ),
        (
            "Tile by the input",
            Some("cannot be told from the file"),
            summed(
                13,
                "Cast x > i | to=7; Squeeze i nought > s; Slice s nought two > t; Tile x t > big",
                "nought=0 two=2",
            ),
        ),
        ("NonZero of the input", Some("cannot be told from the file"), summed(13, "NonZero x > big", "")),
        ("OneHot", Some(VALUES), summed(13, "Cast x > i | to=7; OneHot i depth two > big", "depth=:17179869184 two#2")),
        (
            "Gather",
            Some(VALUES),
            summed(13, "Expand nought many > i; Gather x i > big | axis=1", "nought=:0 many=8192,8192,2"),
        ),
        (
            "GatherND",
            Some(VALUES),
            summed(13, "Expand nought many > i; GatherND x i > big", "nought=0 many=33554432,1"),
        ),
        (
            "a window of its padding",
            Some(VALUES),
            of_image("MaxPool image > big | kernel_shape=[1] pads=[67108864,67108864]", ""),
        ),
        (
            "a kernel as large as its padding",
            Some("in its kernel_shape"),
            of_image("MaxPool image > big | kernel_shape=[17179869184] pads=[17179869183,0]", ""),
        ),
        (
            "a kernel of a bound's size",
            Some(VALUES),
            of_image("AveragePool image > big | kernel_shape=[67108864] pads=[67108864,0] count_include_pad=1", ""),
        ),
        (
            "a convolution over its padding",
            Some(VALUES),
            of_image("Conv image w > big | pads=[67108864,67108864] strides=[67108864]", "w#1x1x2"),
        ),
        (
            "a convolution over two sides of padding",
            Some(VALUES),
            summed(
                13,
                "Unsqueeze x axes > image; Conv image w > big | pads=[60000000,60000000,60000000,60000000] strides=[60000000,60000000]",
                "axes=1,2 w#1x1x2x2",
            ),
        ),
        (
            "a convolution with wide gaps",
            Some("in its dilations"),
            of_image("Conv image w > big | dilations=[1099511627776] pads=[1099511627776,0]", "w#1x1x2"),
        ),
        (
            "a transposed convolution",
            Some(VALUES),
            of_image("ConvTranspose image w > big | strides=[67108864]", "w#1x1x2"),
        ),
        (
            "a convolution of constants",
            Some("nothing but constants"),
            summed(13, "Conv c w > big | pads=[60000000,60000000] strides=[60000000]", "c#1x1x2 w#1x1x2"),
        ),
        (
            "Einsum",
            Some(VALUES),
            summed(13, "Expand x wide > w; Einsum w w > big | equation=ab,cd->abcd", "wide=6000,6"),
        ),
        (
            "a column times a row",
            Some(VALUES),
            summed(13, "Expand x tall > t; Transpose t > w; MatMul t w > big", "tall=60000,6"),
        ),
        (
            "a reach of LSTM",
            Some(VALUES),
            of_image(
                "ConstantOfShape ws > w; ConstantOfShape rs > r; LSTM image w r > big | hidden_size=16384",
                "ws=1,65536,6 rs=1,65536,16384",
            ),
        ),
        (
            "FFT",
            Some(VALUES),
            summed(17, "Unsqueeze x axes > image; DFT image length > big", "axes=2 length=:17179869184"),
        ),
        ("whole numbers", Some(VALUES), summed(13, "Expand x shape > e; Cast e > big | to=7", "shape=8000000,6")),
        (
            "a range of its own length",
            None,
            summed(
                13,
                "Shape x > s; Squeeze s > n; ReduceSum s > l | keepdims=0; Range nought l one > r; Cast r > big | to=1",
                "nought=:0 one=:1",
            ),
        ),
        (
            "a depth of space",
            Some(VALUES),
            summed(13, "Expand x s > e; SpaceToDepth e > big | blocksize=1073741824", "s=1,1,1,6"),
        ),
        (
            "very many samples",
            Some("1099511627776 in its sample_size"),
            summed(13, "Multinomial x > big | sample_size=1099511627776", ""),
        ),
        (
            "Resize up and then down",
            Some(VALUES),
            summed(
                13,
                &format!("Expand x shape > e; Reshape e turned > f; Resize f _ _ sizes > big | {nearest}"),
                "shape=10000,6 turned=6,10000 sizes=6000000,1",
            ),
        ),
        (
            "constants that are made while they are read",
            Some("the operator ConstantLike is not supported"),
            summed(13, "ConstantLike > big | shape=[1099511627776]", ""),
        ),
        (
            "weights of a few bits",
            Some("the operator MatMulNBits is not supported"),
            summed(13, "MatMulNBits x b s > big | K=1099511627776 N=1 block_size=32", "b=1 s~1"),
        ),
        ("ones on a diagonal", Some(VALUES), {
            let eyes: Vec<String> = (0..40)
                .map(|at| format!("Slice e from to{at} > l{at}; EyeLike l{at} > i{at}; ReduceSum i{at} > s{at}"))
                .collect();
            let sums: Vec<String> = (0..40).map(|at| format!("s{at}")).collect();
            let stored: String = (0..40).map(|at| format!("to{at}={} ", 4_000_000 + at)).collect();
            let lines = format!("Expand x shape > e; {}; Sum {} > big", eyes.join(";"), sums.join(" "));
            summed(13, &lines, &format!("shape=5000000,6 from=0 {stored}"))
        }),
        ("small ones on a diagonal", None, summed(13, "Expand x shape > e; EyeLike e > big", "shape=100,6")),
        (
            "zeros of no kind that is said",
            None,
            summed(13, "ConstantOfShape shape > zeros; Add x zeros > big", "shape=1,6"),
        ),
        ("noise", Some(VALUES), summed(13, "RandomNormal > big | shape=[1099511627776]", "")),
    ]
}
