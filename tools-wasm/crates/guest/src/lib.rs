//! Makes a Rust function a tool: the bindings of `wit/tool.wit` and the macro that exports the function as `call`.
//! It never imports anything for a tool but `progress`, and that only where the tool reports some.

/// What `wit/tool.wit` says, as Rust.
#[expect(missing_docs, clippy::mem_forget, reason = "generated from wit/tool.wit")]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "tool",
        pub_export_macro: true,
        export_macro_name: "export",
        default_bindings_module: "stockade_guest::bindings",
    });
}

pub use bindings::stockade::tool::progress::report;
pub use bindings::stockade::tool::tool_types::{Failure, Image, Reply};

impl Reply {
    /// An answer that is text alone.
    pub fn text(text: impl Into<String>) -> Reply {
        Reply { text: text.into(), structured: None, images: Vec::new() }
    }
}

/// Exports a `fn(&str) -> Result<Reply, Failure>` as the component's `call`: `stockade_guest::tool!(answer);`.
#[macro_export]
macro_rules! tool {
    ($function:path) => {
        struct Exported;

        impl $crate::bindings::Guest for Exported {
            fn call(arguments: String) -> Result<$crate::Reply, $crate::Failure> {
                $function(&arguments)
            }
        }

        $crate::bindings::export!(Exported with_types_in $crate::bindings);
    };
}
